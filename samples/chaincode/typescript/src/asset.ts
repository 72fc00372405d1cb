import { Object as DataType, Property } from 'fabric-contract-api';

// What the ledger holds under its ID. The order of the fields is the order of the bytes
// that all endorsers must agree on.
@DataType()
export class Asset {
    @Property()
    public ID: string = '';

    @Property()
    public Owner: string = '';

    @Property()
    public Value: number = 0;
}
